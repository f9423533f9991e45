return variant {
  name  = "log_linear_simple_gla",
  about = "Simple GLA under a fenwick mask",
  scale = dk^-0.5,
  transition = { decay(exp(input { "g", max = 0 })) },
  mask = fenwick(input { "lambda", levels }),
}
