"""From submissions to points: a process for each submission, in a sandbox where there is one.

``files`` finds and ``submission`` reads, ``isolation`` starts what ``judging`` does inside, ``messages`` reads what
comes back, ``grade`` leads a class through it. What a submission can still do stands in docs/instructors.md.
"""
