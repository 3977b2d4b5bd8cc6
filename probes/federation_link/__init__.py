"""Black-box: an object placed on a federation's hub reaches each member, and goes away again."""
