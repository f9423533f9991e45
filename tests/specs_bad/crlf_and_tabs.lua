return variant {
	name = "x",
	mask = fenwick(input "lambda"),
}
