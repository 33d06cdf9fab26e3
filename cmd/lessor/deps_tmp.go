package main

import _ "sigs.k8s.io/yaml"
import _ "github.com/rogpeppe/go-internal/testscript"
