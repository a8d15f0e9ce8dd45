"""What lecture 09 lets its reader build."""

BUILDS = ()
