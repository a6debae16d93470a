"""The release's own protocol, bug for bug: what its evaluation code computes, not what it was meant to.

Published numbers come from it. Each deviation from protocol v1 is a named function or a line of a table, with a test
that shows it, so that one sees how far each moves a score. The two protocols never share a table.
"""
