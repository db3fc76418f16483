module ringmq/interop

go 1.21
