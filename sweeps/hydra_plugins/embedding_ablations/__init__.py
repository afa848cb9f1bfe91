"""Our place in Hydra's namespace of plug-ins."""
