"""Spike sorting: who fired when, from many electrodes at once.

A recording is a pipeline's input, and the clustering of snippets at one electrode, by
the Attentive Clustering Process or by anything else, is one step of it.

    recording   what is sorted: traces, rate, positions
    preprocess  band-pass, reference, scale, noise covariance
    detect      negative peaks
    extract     windows around them
    snippets    whitening, features
    simulate    training problems for the clusterer, of probes and noise
    encoder     snippets to vectors
    learned     a trained process as the clusterer
    candidates  clusters of peaks, channel by channel
    templates   a unit's mean waveform
    matching    matching pursuit with the templates; pursuit: over a whole recording
    merging     which units are one; linking: from part to part of a long recording
    sort        the pipeline
    result      what it gives; quality: how far a unit can be trusted
    figures, phy, interface     to see that, and to take it elsewhere
"""
