// Validates CustomResourceDefinitions as an API server does that creates them, with the version of
// apiextensions-apiserver in go.mod. Prints each error. The cost limits of CEL rules are part of it.
package main

import (
	"context"
	"fmt"
	"os"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/install"
	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

func main() {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	found := false
	for _, path := range os.Args[1:] {
		problems, err := check(scheme, path)
		if err != nil {
			fmt.Printf("%s: %v\n", path, err)
			found = true
		}
		for _, problem := range problems {
			fmt.Printf("%s: %s: %s\n", path, problem.Field, problem.Detail)
			found = true
		}
	}
	if found || len(os.Args) < 2 {
		os.Exit(1)
	}
}

func check(scheme *runtime.Scheme, path string) (field.ErrorList, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var served v1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(text, &served); err != nil {
		return nil, err
	}
	v1.SetDefaults_CustomResourceDefinition(&served)
	v1.SetDefaults_CustomResourceDefinitionSpec(&served.Spec)
	var internal apiextensions.CustomResourceDefinition
	if err := scheme.Convert(&served, &internal, nil); err != nil {
		return nil, err
	}
	return validation.ValidateCustomResourceDefinition(context.Background(), &internal), nil
}
