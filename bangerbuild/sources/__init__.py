"""Sources that lie elsewhere, as the manifest names them: what they stand for today, and bringing them here.

`fetch` and `sources.oci` know how; here it is said for which source, and kept in the user's cache. What is
brought has been compared with its pin before anybody reads it.
"""
