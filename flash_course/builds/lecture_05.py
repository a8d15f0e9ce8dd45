"""What lecture 05 lets its reader build."""

BUILDS = ()
