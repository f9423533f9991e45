pcall(variant)
