"""Brain-Score model plugin: the VOneNets of the vonenet package, each with its committed layers.

Brain-Score finds a model by the line that registers it, so each has a line of its own. It has
plugins of the original package under other names, `vonealexnet` among them, and refuses a name that
is registered twice: ours begin with `vonenet-`.
"""

from brainscore_vision import model_registry

from .model import brain_model

model_registry["vonenet-voneresnet50"] = lambda: brain_model("vonenet-voneresnet50")
model_registry["vonenet-voneresnet50_at"] = lambda: brain_model("vonenet-voneresnet50_at")
model_registry["vonenet-voneresnet50_ns"] = lambda: brain_model("vonenet-voneresnet50_ns")
model_registry["vonenet-vonecornet_s"] = lambda: brain_model("vonenet-vonecornet_s")
model_registry["vonenet-vonealexnet"] = lambda: brain_model("vonenet-vonealexnet")
# No weights are published for this one: see README.md.
model_registry["vonenet-voneresnet18"] = lambda: brain_model("vonenet-voneresnet18")
