return variant { name = "x\n#include <stdio.h>" }
