"""What lecture 01 lets its reader build."""

BUILDS = ()
