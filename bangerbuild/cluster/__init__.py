"""All nodes at once: each node's share is sent to a worker there, and what comes back reads like one run.

`running` is one command on all nodes. `dividing` makes what each node is sent (`share`), with the files of
the controller that go along (`host_files`); `documents` writes such values as JSON and reads them back.
`dispatch` sends and gathers over a `transport`, `gathering` makes one plan and one progress of what nodes
say (`events`).

On a node `worker` answers, `kept_files` has the files that were sent, and `child` does the share, in a
process of its own. `scheduler` is the transport over Dask distributed, and the only module that imports
that. Nothing of this is loaded without `--cluster`.
"""
