"""Damaged input of every format that is read here: nothing but one plain error may come of it.

Each module takes real specimens of one format and changes them, byte by byte and part by part. `make test`
looks at a few examples of each, `make fuzz` at as many as take about an hour. What was found stays, as an
`example`.
"""
