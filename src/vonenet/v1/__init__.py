"""The model of primary visual cortex: parameters -> kernels -> filter bank -> cells -> noise."""
