"""What ``doctor`` does: :mod:`facts` looks, and :mod:`checks` decides, without I/O."""
