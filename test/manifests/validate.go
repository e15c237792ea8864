// Package manifests validates Kubernetes manifests as an API server does, with the API server's own code. It is a
// module apart, because that code has more dependencies than the service.
package manifests

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	podwarnings "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/apps"
	_ "k8s.io/kubernetes/pkg/apis/apps/install" // registers the types
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/batch"
	_ "k8s.io/kubernetes/pkg/apis/batch/install" // registers the types
	batchvalidation "k8s.io/kubernetes/pkg/apis/batch/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install" // registers the types
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/networking"
	_ "k8s.io/kubernetes/pkg/apis/networking/install" // registers the types
	networkingvalidation "k8s.io/kubernetes/pkg/apis/networking/validation"
	"k8s.io/kubernetes/pkg/apis/policy"
	_ "k8s.io/kubernetes/pkg/apis/policy/install" // registers the types
	policyvalidation "k8s.io/kubernetes/pkg/apis/policy/validation"
	podsecurity "k8s.io/pod-security-admission/api"
	podsecuritypolicy "k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

// Validator validates single manifests.
type Validator struct {
	// Definitions are the custom resources that the cluster knows, by kind.
	Definitions map[string]*apiextensions.CustomResourceDefinition
}

// Define adds a custom resource definition, as YAML.
func (v *Validator) Define(definition []byte) error {
	var in apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(definition, &in); err != nil {
		return fmt.Errorf("read custom resource definition: %w", err)
	}
	var out apiextensions.CustomResourceDefinition
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&in, &out, nil); err != nil {
		return fmt.Errorf("convert custom resource definition: %w", err)
	}
	if v.Definitions == nil {
		v.Definitions = map[string]*apiextensions.CustomResourceDefinition{}
	}
	v.Definitions[in.Spec.Names.Kind] = &out
	return nil
}

// Validate returns what an API server would reject or warn of: unknown and repeated fields, invalid values, and what
// the restricted pod security standard forbids. The error is of a manifest that cannot be read at all.
func (v *Validator) Validate(ctx context.Context, manifest []byte) ([]string, error) {
	var meta metav1.PartialObjectMetadata
	if err := yaml.Unmarshal(manifest, &meta); err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if definition := v.Definitions[meta.Kind]; definition != nil {
		return custom(definition, meta.APIVersion, manifest)
	}
	strict := serializer.NewCodecFactory(legacyscheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	object, _, err := strict.Decode(manifest, nil, nil)
	if err != nil {
		return []string{err.Error()}, nil
	}
	legacyscheme.Scheme.Default(object)
	if o, is := object.(metav1.Object); is && o.GetNamespace() == "" {
		o.SetNamespace("default") // as kubectl does
	}
	return builtIn(ctx, object)
}

func builtIn(ctx context.Context, object runtime.Object) ([]string, error) {
	if job, is := object.(*batchv1.Job); is {
		completeJob(job)
	}
	internal, err := legacyscheme.Scheme.UnsafeConvertToVersion(object.DeepCopyObject(), runtime.InternalGroupVersioner)
	if err != nil {
		return nil, fmt.Errorf("convert manifest: %w", err)
	}
	switch o := internal.(type) {
	case *apps.Deployment:
		options := podwarnings.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil)
		found := texts(appsvalidation.ValidateDeployment(o, options))
		return append(found, pod(ctx, &o.Spec.Template, &object.(*appsv1.Deployment).Spec.Template)...), nil
	case *batch.Job:
		options := batchvalidation.JobValidationOptions{
			PodValidationOptions:  podwarnings.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil),
			RequirePrefixedLabels: true,
		}
		found := texts(batchvalidation.ValidateJob(o, options))
		return append(found, pod(ctx, &o.Spec.Template, &object.(*batchv1.Job).Spec.Template)...), nil
	case *core.Service:
		if o.Spec.ClusterIP != "" && len(o.Spec.ClusterIPs) == 0 {
			o.Spec.ClusterIPs = []string{o.Spec.ClusterIP} // as the API server does before it validates
		}
		return texts(corevalidation.ValidateServiceCreate(o)), nil
	case *policy.PodDisruptionBudget:
		return texts(policyvalidation.ValidatePodDisruptionBudget(o, policyvalidation.PodDisruptionBudgetValidationOptions{})), nil
	case *networking.NetworkPolicy:
		return texts(networkingvalidation.ValidateNetworkPolicy(o, networkingvalidation.NetworkPolicyValidationOptions{})), nil
	default:
		return nil, fmt.Errorf("no validation for %T", internal)
	}
}

// completeJob adds what the API server adds to a Job before it validates it.
func completeJob(job *batchv1.Job) {
	job.UID = "uid"
	job.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{batchv1.ControllerUidLabel: string(job.UID)}}
	labels := map[string]string{
		batchv1.ControllerUidLabel: string(job.UID), batchv1.JobNameLabel: job.Name,
		"controller-uid": string(job.UID), "job-name": job.Name,
	}
	for key, value := range job.Spec.Template.Labels {
		labels[key] = value
	}
	job.Spec.Template.Labels = labels
}

// pod returns the warnings of a pod template, and what the restricted standard forbids.
func pod(ctx context.Context, internal *core.PodTemplateSpec, external *corev1.PodTemplateSpec) []string {
	path := field.NewPath("spec", "template")
	found := podwarnings.GetWarningsForPodTemplate(ctx, path, internal, nil)
	evaluator, err := podsecuritypolicy.NewEvaluator(podsecuritypolicy.DefaultChecks())
	if err != nil {
		return append(found, err.Error())
	}
	restricted := podsecurity.LevelVersion{Level: podsecurity.LevelRestricted, Version: podsecurity.LatestVersion()}
	result := podsecuritypolicy.AggregateCheckResults(evaluator.EvaluatePod(restricted, &external.ObjectMeta, &external.Spec))
	if !result.Allowed {
		found = append(found, result.ForbiddenDetail())
	}
	return found
}

// custom validates a custom resource by the schema of its version.
func custom(definition *apiextensions.CustomResourceDefinition, apiVersion string, manifest []byte) ([]string, error) {
	var object map[string]any
	if err := yaml.UnmarshalStrict(manifest, &object); err != nil {
		return []string{err.Error()}, nil
	}
	for _, version := range definition.Spec.Versions {
		if definition.Spec.Group+"/"+version.Name != apiVersion {
			continue
		}
		properties := definition.Spec.Validation // where all versions have the same one
		if version.Schema != nil {
			properties = version.Schema
		}
		structural, err := schema.NewStructural(properties.OpenAPIV3Schema)
		if err != nil {
			return nil, fmt.Errorf("read schema of %s: %w", apiVersion, err)
		}
		validator, _, err := crdvalidation.NewSchemaValidator(properties.OpenAPIV3Schema)
		if err != nil {
			return nil, fmt.Errorf("read schema of %s: %w", apiVersion, err)
		}
		found := texts(crdvalidation.ValidateCustomResource(nil, object, validator))
		track := schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}
		for _, path := range pruning.PruneWithOptions(object, structural, true, track) {
			found = append(found, fmt.Sprintf("unknown field %q", path))
		}
		return found, nil
	}
	return []string{fmt.Sprintf("no version %q of %s", apiVersion, definition.Spec.Names.Kind)}, nil
}

func texts(list field.ErrorList) []string {
	var found []string
	for _, err := range list {
		found = append(found, err.Error())
	}
	return found
}
