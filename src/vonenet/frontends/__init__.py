"""Stages of visual processing beside V1, and front-ends made of them."""
