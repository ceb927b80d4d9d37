"""The demo world, the training of the small models and their evaluation; never imported by the nodes."""
