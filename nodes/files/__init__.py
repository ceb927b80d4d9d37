"""Check Files: which files and packages a graph needs, whether they are here, and getting those that a user asks for."""
