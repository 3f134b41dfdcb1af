"""Controlled comparisons: a grid of choices, each trained as AE and as AR.

Yue et al., "Your Causal Self-Attentive Recommender Hosts a Lonely Neighborhood", WSDM
2025, asks whether auto-encoding (AE: masked items, seen from both sides) or auto-
regression (AR: next items, seen from the left) recommends better. Its answer depends on
what else differs, so here nothing else does: `jaxrec.study.grid` runs a configuration
like `configs/ae_ar.py`.

    plan        from a configuration to cells (arm x mode), and a cell's candidates
    group       several members of one shape trained as one program
    halving     which candidate is best, the worst ones given up early if asked
    grid        the whole job, cell by cell
    paired      tests between two cells over the same users
    report      tables, text and plots
"""
