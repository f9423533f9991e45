-- */ #include "/etc/passwd" \
--[[ */ ??/
]] return variant { name = "x", transition = { decay(input "g") } } -- */
