"""What lecture 03 lets its reader build."""

BUILDS = ()
