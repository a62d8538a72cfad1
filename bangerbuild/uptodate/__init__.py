"""The fast answer: whether `apply` has nothing to do, told before the rest of the program is loaded.

`command` understands the plainest command lines, `record` keeps what an earlier run stood on, `check`
compares that with one pass of stats. Whatever is not understood, not remembered or not the same is left to
the plan; `grounds` takes down what is remembered.

Nothing here imports anything else of ours, nor more of the standard library than an interpreter has loaded
anyway: each module of it costs more than all the stats of a VM.
"""
