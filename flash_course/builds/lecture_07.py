"""What lecture 07 lets its reader build."""

BUILDS = ()
