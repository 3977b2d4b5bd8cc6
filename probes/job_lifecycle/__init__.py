"""Black-box probe: a Job completes and is deleted by its TTL, a CronJob fires in time, deletion cascades."""
