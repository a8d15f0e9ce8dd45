"""What lecture 02 lets its reader build."""

BUILDS = ()
