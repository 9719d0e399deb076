"""Names and weights of VOneNets. Importing it makes the names known to timm."""

from vonenet.zoo.registry import register_timm_models

register_timm_models()
