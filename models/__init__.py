"""Language models and how they are trained: pure PyTorch, files only through plain paths, no knowledge of stages."""
