"""What lecture 11 lets its reader build."""

BUILDS = ()
