"""Black-box probe: a Job runs to its end and is tidied up, a CronJob fires on the minute, deletion cascades."""
