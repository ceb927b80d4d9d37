"""Making sets of pictures of one subject to train on: the synthetic same-subject data set (JeDi, section 3.1, algorithm 1)."""
