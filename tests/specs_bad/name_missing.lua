return variant {
  q = l2norm(input { "q", dk }),
}
