module gort-bench-go

go 1.21
