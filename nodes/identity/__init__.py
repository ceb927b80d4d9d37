"""InstantID: a face's embedding to tokens, keys and values; faces, their choice and their keypoint picture; the nodes.

Letters: K identities, B batch rows, L tokens of a layer, T face tokens (16), D a layer's channels.
"""
