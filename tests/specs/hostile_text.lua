-- */ #include "/etc/passwd" \
--[==[ ??/ */ int main(void) { system("id"); } /* ]==]
return variant {
  name = "hostile_text",
  about = "*/ #include <x>\n#error \\ ??/ \" \0 \27[31m $(rm) ]]",
  transition = { decay(exp(input { "g", max = 0 })) }, -- */ "
}
