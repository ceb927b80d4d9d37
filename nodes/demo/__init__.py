"""The loader of the small models that ship with the pack."""
