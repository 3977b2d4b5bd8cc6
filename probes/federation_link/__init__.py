"""Black-box probe: an object created on a federation's hub reaches each member, and is deleted there again."""
