"""A real kube-apiserver behind the interface of the fake one: the judge of the fake.

``pytest tests/component --real-api`` runs the tests marked ``judged`` against etcd, kube-apiserver
and kube-controller-manager, started as processes. If a test passes with the fake API server and
fails here, the fake is wrong. There are no nodes: the scheduler and the kubelets are simulated as
in the fake cluster, but they read and write the objects of the real server. The Job controller, the
garbage collector and the namespace controller are real.
"""
