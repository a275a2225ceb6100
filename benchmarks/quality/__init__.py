"""Quality of the estimators on labelled series, beside MiniRocket, MultiRocket+Hydra and published accuracies.

    python -m quality run | summary | choose | many      in the environment that `make quality` makes

`sets` names the data, `reading` opens it; `systems` names what is measured, `worker` measures one system in a process
of its own, `run` asks the workers set by set and writes `record`; `published` has the accuracies of papers,
`significance` the tests, `summary` the tables and `pictures` the drawings. `choose` compares variants of an estimator
inside the training splits; `many` measures time and memory for many series.
"""
