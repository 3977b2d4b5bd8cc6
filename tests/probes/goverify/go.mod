module goverify

go 1.21
