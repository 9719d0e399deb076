"""The 19 common corruptions as functions of (images, constant, generators), a file per category.

Images are (B, C, H, W) in [0, 1]; results are not clipped yet. There is one CPU generator per
image: what is random is drawn from it, and the work is done for the batch, on its device. Written
from the definitions of ImageNet-C (Hendrycks & Dietterich 2019; reference/corruptions.md).
"""
