"""The losses of the papers, one module a family, each a plain function of tensors."""
