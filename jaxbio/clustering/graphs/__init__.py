"""Communities in graphs.

`sbm` and `symmetric_sbm` draw graphs to train on, `sage`, `gatedgcn` and `gin` encode
them. `read` takes networks from files, `communities` makes problems of networks whose
communities overlap, and `subgraphs` clusters a graph that is too large for a model.
"""
