"""InstantID: a face's embedding to tokens, keys and values; faces, their choice and their keypoint picture; the nodes.

Letters of axes and meanings of words are in docs/architecture.md.
"""
