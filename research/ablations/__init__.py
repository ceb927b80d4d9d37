"""The paper's ablations on the demo world: what is trained for them, painted with it, and compared."""
