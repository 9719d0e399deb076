"""Names and weights of VOneNets."""
